/* The collapsible tree. Its rows are one flat list, so that depth costs nothing; a row is made when it is first shown. */

const MOST_ROWS = 5000;
const ROWS_AT_FIRST = 40;
const DEEPEST_INDENT = 14;

const treeList = make("ul", "tree");
treeList.setAttribute("role", "tree");
treeList.setAttribute("aria-label", "Nodes");

const shown = { tree: null, selected: ROOT, path: null, matches: new Set(), rows: new Map() };

/** Shows a tree with its first levels open, as it was left if it was shown before. */
function showTree(tree) {
  if (shown.tree === tree) return;
  if (!tree.seen) tree.openUpTo(ROWS_AT_FIRST, CHILDREN_AT_ONCE);
  tree.seen = true;
  Object.assign(shown, { tree, rows: new Map(), path: null });
  treeList.replaceChildren();
}

/** Brings the rows in line with what is open, selected, found and on the parse path. */
function refreshRows() {
  const wanted = visibleRows(shown.tree).map(rowElement);
  fill(treeList, wanted);
  const steps = new Map((shown.path?.steps ?? []).map(([node], index) => [node, index]));
  for (const row of wanted) dress(row, steps);
  if (!treeList.querySelector("[tabindex='0']")) treeList.firstElementChild.tabIndex = 0;
}

/** Rows from top to bottom: nodes, and after the first children of a node with very many how many more there are. */
function visibleRows(tree) {
  const rows = [];
  const waiting = [{ key: ROOT, number: ROOT, depth: 0, place: 1, siblings: 1 }];
  while (waiting.length) {
    const row = waiting.pop();
    rows.push(row);
    if (row.rest || !tree.open.has(row.number)) continue;
    const { children } = tree.nodes[row.number];
    const limit = tree.limit(row.number);
    const below = { depth: row.depth + 1, siblings: children.length };
    if (children.length > limit) waiting.push({ ...below, key: `rest-${row.number}-${limit}`, number: row.number, rest: children.length - limit, place: limit + 1 });
    for (let index = Math.min(limit, children.length) - 1; index >= 0; index--) waiting.push({ ...below, key: children[index], number: children[index], place: index + 1 });
  }
  return rows;
}

function rowElement(row) {
  if (!shown.rows.has(row.key)) shown.rows.set(row.key, row.rest ? restRow(row) : nodeRow(row));
  return shown.rows.get(row.key);
}

function emptyRow({ key, depth, place, siblings }) {
  const element = make("li", "row");
  element.dataset.key = key;
  element.tabIndex = -1;
  element.setAttribute("role", "treeitem");
  element.setAttribute("aria-level", depth + 1);
  element.setAttribute("aria-posinset", place);
  element.setAttribute("aria-setsize", siblings);
  const indent = make("span", "indent");
  indent.style.width = `${Math.min(depth, DEEPEST_INDENT)}rem`;
  element.append(indent);
  if (depth > DEEPEST_INDENT) element.append(make("span", "depth", `${depth}`));
  return element;
}

function nodeRow(row) {
  const node = shown.tree.nodes[row.number];
  const element = emptyRow(row);
  const twist = make("span", node.children.length ? "twist" : "twist leaf");
  twist.setAttribute("aria-hidden", "true");
  const top = shown.tree.top(row.number);
  const strongest = top
    ? make("span", "top", named(top.name), make("span", top.value < 0 ? "negative" : "positive", number(top.value, shown.tree.topDecimals, "+")))
    : make("span", "top", node.filters.length ? named(data.filters[node.filters[0]]) : "");
  const bar = make("span", "bar");
  bar.style.width = `${(100 * node.images) / Math.max(1, shown.tree.nodes[ROOT].images)}%`;
  const size = make("span", "size", make("span", "track", bar), make("span", "images", count(node.images)));
  size.title = count(node.images, "image");
  element.append(twist, make("span", "step"), named(node.title, "title"), strongest, size);
  return element;
}

function restRow(row) {
  const element = emptyRow(row);
  element.classList.add("rest");
  element.dataset.parent = row.number;
  element.append(make("span", "twist leaf"), make("span", "title", `${count(row.rest)} more: show ${count(Math.min(row.rest, CHILDREN_AT_ONCE))}`));
  return element;
}

function dress(row, steps) {
  if (row.classList.contains("rest")) return;
  const key = Number(row.dataset.key);
  const step = steps.get(key);
  const selected = key === shown.selected;
  if (shown.tree.nodes[key].children.length) row.setAttribute("aria-expanded", shown.tree.open.has(key));
  row.setAttribute("aria-selected", selected);
  row.tabIndex = selected ? 0 : -1;
  row.classList.toggle("on-path", step !== undefined);
  row.classList.toggle("match", shown.matches.has(key));
  const badge = row.querySelector(".step");
  badge.textContent = step === undefined ? "" : step + 1;
  badge.title = step === undefined ? "" : `Step ${step + 1} of the image's parse path`;
}

/** Scrolls the tree, and it alone, where a row is out of sight. */
function bringIntoView(row) {
  const [view, box] = [treeList.getBoundingClientRect(), row.getBoundingClientRect()];
  const above = view.top - box.top;
  const below = box.bottom - view.bottom;
  const far = Math.max(above, below) > 2 * box.height ? view.height / 3 : 0; // a row is met at the edge, a jump ends well inside
  if (above > 0) treeList.scrollTop -= above + far;
  else if (below > 0) treeList.scrollTop += below + far;
}

function rowOf(key) {
  return shown.rows.get(key);
}

/** Opens or closes a node; nothing happens to a leaf. */
function setOpen(tree, key, open) {
  if (open) tree.open.add(key);
  else tree.open.delete(key);
  if (!open && key !== shown.selected && tree.lineage(shown.selected).includes(key)) go({ tree, view: "node", node: key }, true);
  else refreshRows();
}

function expandAll() {
  const whole = shown.tree.openUpTo(MOST_ROWS, MOST_ROWS);
  refreshRows();
  announce(whole ? "All nodes are open." : `The first ${count(treeList.childElementCount)} of ${count(shown.tree.size)} nodes are shown.`);
}

function collapseAll() {
  shown.tree.open.clear();
  shown.tree.limits.clear();
  go({ tree: shown.tree, view: "node", node: ROOT }, true);
  announce("All nodes are closed.");
}

function showMore(tree, parent) {
  const first = tree.nodes[parent].children[tree.limit(parent)];
  tree.limits.set(parent, tree.limit(parent) + CHILDREN_AT_ONCE);
  refreshRows();
  rowOf(first).focus();
}

/** Does what a row is for: a node is shown, and further children of a node with many are listed. */
function act(row, fleeting) {
  const key = row.dataset.key;
  if (row.classList.contains("rest")) showMore(shown.tree, Number(row.dataset.parent));
  else go({ tree: shown.tree, view: "node", node: Number(key) }, fleeting);
}

treeList.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  row.focus();
  const key = Number(row.dataset.key);
  if (event.target.closest(".twist:not(.leaf)")) setOpen(shown.tree, key, !shown.tree.open.has(key));
  else act(row, false);
});

treeList.addEventListener("dblclick", (event) => {
  const row = event.target.closest(".row:not(.rest)");
  const key = Number(row?.dataset.key);
  if (row && !event.target.closest(".twist") && shown.tree.nodes[key].children.length) setOpen(shown.tree, key, !shown.tree.open.has(key));
});

treeList.addEventListener("keydown", (event) => {
  const row = event.target.closest(".row");
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  const { tree } = shown;
  const key = Number(row.dataset.key); // NaN for the row of further children
  const isOpen = tree.open.has(key);
  const children = tree.nodes[key]?.children ?? [];
  const move = (target) => {
    if (!target) return;
    if (target.classList.contains("rest")) target.focus();
    else act(target, true);
  };
  const keys = {
    ArrowDown: () => move(row.nextElementSibling),
    ArrowUp: () => move(row.previousElementSibling),
    Home: () => move(treeList.firstElementChild),
    End: () => move(treeList.lastElementChild),
    ArrowRight: () => {
      if (children.length && !isOpen) setOpen(tree, key, true);
      else if (children.length) move(rowOf(children[0]));
    },
    ArrowLeft: () => {
      if (children.length && isOpen) setOpen(tree, key, false);
      else move(rowOf(Number.isNaN(key) ? Number(row.dataset.parent) : tree.parents.get(key)));
    },
    Enter: () => act(row, false),
    " ": () => act(row, false),
    "*": () => {
      for (const sibling of tree.nodes[tree.parents.get(key)]?.children ?? [key]) if (tree.nodes[sibling].children.length) tree.open.add(sibling);
      refreshRows();
    },
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
