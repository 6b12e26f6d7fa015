/* The gallery, and one image of it with the nodes that fire in it. */

/** Nodes that fire in an image and are left by the filters, most active first, of equal ones the higher score. */
function nodesIn(image) {
  const isLeft = filterOfNodes();
  const hidden = hiddenLayers();
  const firing = allNodes.filter((node) => !hidden.has(node.layer.index) && node.activityIn(image) >= FIRES && isLeft(node));
  return firing.sort((one, other) => other.activityIn(image) - one.activityIn(image) || (other.score ?? 0) - (one.score ?? 0));
}

function imageList() {
  const tiles = data.gallery.map((name, image) => {
    const link = make("a", "tile", data.images[image] ? picture(image) : named(name, "no-picture"), make("span", "caption", named(name)));
    link.href = hashOf({ ...here, view: "images", image: String(image) });
    link.dataset.image = image;
    return link;
  });
  return tiles.length ? make("div", "tiles gallery-tiles", ...tiles) : make("p", "quiet hint", "The graph has no gallery of images.");
}

function imageDetail(image) {
  const nodes = nodesIn(image);
  const listed = nodes.slice(0, Math.max(0, here.markers));
  const selected = selectedNode();
  const marked = nodes.includes(selected) && !listed.includes(selected) ? [...listed, selected] : listed;
  const markers = marked.map((node) => {
    const marker = placed(button(node === selected ? "self" : "", () => select(node, false)), node, image);
    marker.setAttribute("aria-label", `${node.name}, ${node.activityIn(image).toFixed(1)} times its mean`);
    return marker;
  });
  const amount = make("p", "quiet amount-note", `${count(listed.length)} of ${count(nodes.length, "node")} that ${nodes.length === 1 ? "fires" : "fire"} here${isFiltered() ? " and pass the filters" : ""}, most active first`);
  const highest = Math.max(FIRES, ...listed.map((node) => node.activityIn(image)));
  const chips = listed.map((node) => () => chip(node, node.activityIn(image) / highest, `${node.activityIn(image).toFixed(1)} ×`, patch(node, image) || bestPatch(node)));
  const article = make("article", "image", imageControls(image), picture(image, ...markers.reverse()), layerLegend(), amount, chipList("firing", chips, listed.length));
  article.addEventListener("pointerover", (event) => {
    const key = event.target.closest(".node-chip, .marker")?.dataset.node;
    for (const element of article.querySelectorAll(".node-chip, .marker")) element.classList.toggle("met", element.dataset.node === key);
  });
  return article;
}

function layerLegend() {
  const hidden = hiddenLayers();
  const entries = layers.filter((layer) => !hidden.has(layer.index)).reverse();
  return make("p", "legend", ...entries.map((layer) => make("span", `layer-${layer.index % LAYER_COLOURS}`, make("span", "dot"), named(layer.name))));
}

function imageControls(image) {
  const choice = make("select", "");
  choice.append(...data.gallery.map((name, index) => new Option(name, index)));
  choice.value = image;
  choice.setAttribute("aria-label", "Image");
  choice.addEventListener("change", () => go({ ...here, image: choice.value }));
  const limit = make("input", "marker-number");
  Object.assign(limit, { type: "number", min: 1, step: 1, value: here.markers });
  limit.setAttribute("aria-label", "Nodes shown at the most");
  limit.addEventListener("change", () => go({ ...here, markers: Math.max(1, Math.round(Number(limit.value)) || MARKERS_AT_FIRST) }, true));
  const link = (text, other) => {
    const element = make("a", "", text);
    if (data.gallery[other] === undefined) element.setAttribute("aria-disabled", "true");
    else Object.assign(element, { href: hashOf({ ...here, image: String(other) }) }).dataset.image = other;
    return element;
  };
  const all = make("a", "", "All images");
  all.href = hashOf({ ...here, image: "" });
  all.dataset.image = "";
  const bar = make("nav", "crumbs", all, make("span", "around", link("‹ Previous", image - 1), link("Next ›", image + 1)));
  bar.setAttribute("aria-label", "Images");
  return make("div", "", bar, make("div", "image-controls", choice, make("label", "check", "at most", limit, "nodes")));
}
