/* Images of the gallery, squares cut from them, and markers on them. */

/** Part of an image around a place; a square near the border is moved into the image. */
function patch(node, image, className = "patch") {
  const sheetPlace = data.images[image];
  if (!sheetPlace) return "";
  const { side } = node.layer;
  const [x, y] = node.positionIn(image);
  const left = Math.min(Math.max(0, x - side / 2), WIDTH - side);
  const top = Math.min(Math.max(0, y - side / 2), HEIGHT - side);
  return cut(sheetPlace, className, `${node.name} in ${data.gallery[image]}`, left, top, side, side);
}

/** The whole image, with markers as its children. */
function picture(image, ...markers) {
  const sheetPlace = data.images[image];
  const element = make("span", "picture", sheetPlace ? cut(sheetPlace, "pixels", data.gallery[image], 0, 0, WIDTH, HEIGHT) : make("span", "pixels none"), ...markers);
  element.style.aspectRatio = `${WIDTH} / ${HEIGHT}`;
  return element;
}

/** A rectangle of an image, in its pixels; a thumbnail's square has the image in its middle. */
function cut(sheetPlace, className, description, left, top, width, height) {
  const box = { left: (left + (LONGEST - WIDTH) / 2) / LONGEST, top: (top + (LONGEST - HEIGHT) / 2) / LONGEST, width: width / LONGEST, height: height / LONGEST };
  return sprite(sheetPlace, className, description, box);
}

/** Puts a marker where a node is in an image. */
function placed(element, node, image) {
  const [x, y] = node.positionIn(image);
  element.style.left = `${(100 * x) / WIDTH}%`;
  element.style.top = `${(100 * y) / HEIGHT}%`;
  element.classList.add("marker", `layer-${node.layer.index % LAYER_COLOURS}`);
  element.dataset.node = node.key;
  element.title = node.name;
  return element;
}

/** The patch of the image in which a node is most active. */
function bestPatch(node) {
  const [best] = node.topImages;
  return best === undefined ? make("span", "patch none") : patch(node, best);
}
