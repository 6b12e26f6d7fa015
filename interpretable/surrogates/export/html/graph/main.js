/* The page's parts and where the reader is. */

const right = document.getElementById("right");
const { tabs, panel } = tabbed();

const ADDRESS_AFTER = 150; // milliseconds: browsers refuse an address that changes with every step of a slider

/** Goes to a place and shows it; a fleeting visit, such as a filter being set, takes no step of the browser's history. */
function go(place, fleeting = false) {
  clearTimeout(go.timer);
  if (fleeting) go.timer = setTimeout(() => history.replaceState(null, "", hashOf(here)), ADDRESS_AFTER);
  else if (hashOf(place) !== (location.hash || "#")) history.pushState(null, "", hashOf(place));
  show(place);
}

/** Selects a node, or none, and shows what is known of it; on an image its markers may stay. */
function select(node, detail = true) {
  go({ ...here, node: node?.key ?? "", view: detail ? "node" : here.view });
}

function show(place) {
  const focused = document.activeElement?.closest(".card")?.dataset.node;
  Object.assign(here, place);
  const scrolled = showPanel();
  refreshFilters();
  refreshColumns();
  right.scrollTop = scrolled; // last, since it asks for the layout of all that has changed
  if (focused) columnBox.querySelector(`.card[data-node="${focused}"]`)?.focus({ preventScroll: true });
}

/** Fills the panel and says how far it is to be scrolled; a node's detail, which filters do not change, stays while they are set. */
function showPanel() {
  const { view, image } = here;
  const key = view === "node" ? `node ${here.node}` : `image ${image}`;
  const scrolled = key === showPanel.key ? right.scrollTop : 0;
  if (key === showPanel.key && (view === "node" || image === "")) return scrolled;
  showPanel.key = key;
  panel.replaceChildren(view === "node" ? nodeDetail(selectedNode()) : image === "" ? imageList() : imageDetail(Number(image)));
  fillTabs(tabs, panel, [
    { id: "tab-node", text: "Node", selected: view === "node", open: () => go({ ...here, view: "node" }) },
    { id: "tab-images", text: `Images (${count(data.gallery.length)})`, selected: view === "images", open: () => go({ ...here, view: "images" }) },
  ]);
  return scrolled;
}

/** A link to an image keeps the filters of the moment in which it is followed. */
panel.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-image]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ ...here, view: "images", image: link.dataset.image });
});

function route() {
  const { place, known } = placeOf(location.hash);
  if (!known) announce("The address names no place of this page.");
  show(place);
}

/** A page that is opened without a place shows what it is about: the strongest node that hangs on others, and its lines. */
function showFirst() {
  const node = layers[0].nodes.find((candidate, place) => layers[0].edges[place].length);
  if (node) history.replaceState(null, "", hashOf({ ...here, node: node.key }));
}

function build() {
  showHeader("The digest of graph.json");
  buildFilters();
  document.getElementById("left").append(filterBar, columnBox, edgeNote);
  right.append(tabs, panel);
  if (!location.href.includes("#")) showFirst();
  route();
  addEventListener("hashchange", route);
  addEventListener("resize", scheduleEdges);
}

build();
