/* What is known of one node. */

const IMAGES_MORE = 48;

function nodeDetail(node) {
  if (!node) return hint();
  const { layer } = node;
  return make(
    "article", "node",
    make("h2", "", nameOf(node, "")),
    make("p", `of-layer layer-${layer.index % LAYER_COLOURS}`, make("span", "dot"), named(layer.name), make("span", "quiet", ` · ${ordinal(node)}`)),
    pairs(factsOf(node), "facts"),
    section("Parents", layer.above ? "strongest edge first" : "", edgeChips("parents", node.up, "parent") || nobody(layer.above, "No parent of this node is shown.", "The top layer hangs on nothing.")),
    section("Children", layer.below ? "strongest edge first" : "", edgeChips("children", node.down, "child") || nobody(layer.below, "No shown node hangs on this one.", "Nothing hangs on the bottom layer.")),
    section("Where it is", "", positionStrip(node)),
  );
}

function hint() {
  return make(
    "div", "quiet hint",
    make("p", "", "Choose a node to see its numbers, its parents and children, and where it is in the images."),
    make("p", "", "A card names the part that a node is on most often, its filter and its number there, and shows its score, its purity, and patches of the images in which it is most active."),
  );
}

function ordinal(node) {
  return `rank ${count(node.place + 1)} of ${count(node.layer.total)} by score`;
}

function nobody(neighbour, without, atTheEnd) {
  return make("p", "quiet", neighbour ? without : atTheEnd);
}

function factsOf(node) {
  const facts = [
    ["score", `${number(node.score, 2)} × the layer's mean`],
    ["σ", `${number(node.spread, 1)} px`],
    ["mean place", `x ${number(node.mean[0], 1)}, y ${number(node.mean[1], 1)} px`],
  ];
  if (node.purity !== null) facts.push(["purity", node.part === PART_UNKNOWN ? percent(node.purity) : `${percent(node.purity)} on ${node.part}`]);
  if (node.instability !== null) facts.push(["location instability", `${number(100 * node.instability, 1)} % of the diagonal`]);
  facts.push(["fires in", `${count(node.firings)} of ${count(data.gallery.length, "image")}`]);
  return facts;
}

/** Images in which the node fires, with the node and, lighter, its parents on them. */
function positionStrip(node) {
  const images = node.firingImages;
  if (!images.length) return make("p", "quiet", "The node fires in no image of the gallery.");
  const strip = make("div", "strip");
  const legend = make("p", "legend", make("span", "marker sample self"), "this node", ...(node.up.length ? [make("span", "marker sample parent"), "its parents"] : []));
  let listed = 0;
  const more = button("link", () => add(IMAGES_MORE), "");
  const add = (number) => {
    strip.append(...images.slice(listed, listed + number).map((image) => positionFigure(node, image)));
    listed = Math.min(images.length, listed + number);
    more.hidden = listed === images.length;
    more.textContent = `${count(images.length - listed)} more: show ${count(Math.min(IMAGES_MORE, images.length - listed))}`;
  };
  add(data.top);
  return make("div", "", legend, strip, more);
}

function positionFigure(node, image) {
  const parents = node.up.map((edge) => placed(make("span", "parent"), edge.parent, image));
  const link = make("a", "position", picture(image, ...parents, placed(make("span", "self"), node, image)), make("span", "caption", named(data.gallery[image]), make("span", "quiet", `${node.activityIn(image).toFixed(1)} ×`)));
  link.href = hashOf({ ...here, view: "images", image: String(image) });
  link.dataset.image = image;
  link.setAttribute("aria-label", `${data.gallery[image]}: activity ${node.activityIn(image).toFixed(1)} times the node's mean`);
  return link;
}
