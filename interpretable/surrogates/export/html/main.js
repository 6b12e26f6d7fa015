/* The page's parts and where the reader is. */

const here = { tree: trees[0], view: "node", node: ROOT, image: null };
const right = document.getElementById("right");
const chooser = make("select", "trees");
const pathChip = make("div", "path-chip");
const { tabs, panel } = tabbed();

/** Goes to a place and shows it; a fleeting visit, such as one by arrow keys, takes no step of the browser's history. */
function go(place, fleeting = false) {
  const hash = hashOf(place);
  if (hash !== location.hash) {
    if (fleeting) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
  }
  show(place);
}

function show(place) {
  const { tree } = place;
  const moved = here.tree !== tree;
  Object.assign(here, place);
  if (moved && place.node === undefined) here.node = ROOT;
  showTree(tree);
  if (moved && finding.results.length) markMatches();
  chooser.value = tree.index;
  if (place.view === "image") {
    shown.path = tree.path(place.image);
    for (const [node] of shown.path.steps) tree.reveal(node);
    here.node = shown.path.steps.at(-1)?.[0] ?? ROOT;
  } else if (place.view === "node") {
    tree.reveal(place.node);
  }
  const hadFocus = treeList.contains(document.activeElement);
  shown.selected = here.node;
  refreshRows();
  const row = rowOf(here.node);
  if (hadFocus) row.focus({ preventScroll: true });
  if (place.view !== "images") bringIntoView(row);
  showPath();
  showPanel();
}

/** Above the tree, of which image the path is marked. */
function showPath() {
  pathChip.hidden = !shown.path;
  if (!shown.path) return;
  const { tree } = here;
  const link = make("a", "", thumbnail("test", shown.path.image, shown.path.name), named(shown.path.name));
  link.href = hashOf({ tree, view: "image", image: shown.path.image });
  const clear = button("link", () => {
    shown.path = null;
    go({ tree, view: "node", node: here.node });
  }, "✕");
  clear.setAttribute("aria-label", "No longer mark this path");
  pathChip.replaceChildren("Path of ", link, clear);
}

function showPanel() {
  const { tree, view } = here;
  const content = { node: () => nodeDetail(tree, here.node), images: () => imageList(tree), image: () => imageDetail(tree, tree.path(here.image)) };
  panel.replaceChildren(content[view]());
  right.scrollTop = 0;
  fillTabs(tabs, panel, [
    { id: "tab-node", text: "Node", selected: view === "node", open: () => go({ tree, view: "node", node: here.node }) },
    { id: "tab-images", text: `Test images (${count(tree.paths.length)})`, selected: view !== "node", open: () => go({ tree, view: "images" }) },
  ]);
  tabs.hidden = !tree.paths.length;
}

function route() {
  const place = placeOf(location.hash);
  if (location.hash.length > 1 && !place) announce("The address names no place of this page.");
  show(place ?? { tree: here.tree, view: "node", node: ROOT });
}

function build() {
  showHeader("The digest of tree.json that a review is bound to");
  for (const tree of trees) chooser.append(new Option(`${tree.name} (${count(tree.size, "node")})`, tree.index));
  chooser.setAttribute("aria-label", "Tree");
  chooser.hidden = trees.length < 2;
  chooser.addEventListener("change", () => go({ tree: trees[chooser.value], view: "node", node: ROOT }));
  const tools = make("div", "tools", chooser, button("", expandAll, "Expand all"), button("", collapseAll, "Collapse all"));
  document.getElementById("left").append(make("div", "top-bar", searchBox, resultCount, resultList, tools, pathChip), treeList);
  right.append(tabs, panel);
  if (!trees.length) {
    panel.append(make("p", "note", "This document has no tree."));
    return;
  }
  resultList.hidden = resultCount.hidden = true;
  route();
  addEventListener("hashchange", route);
}

build();
