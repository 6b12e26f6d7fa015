/* Nodes as small buttons. */

const CHIPS_AT_FIRST = 24;

/** A node's name: the part's own writing direction does not touch the numbers. */
function nameOf(node, className = "name") {
  const element = make("span", className, ...(node.part === PART_UNKNOWN ? [] : [named(node.part), " · "]), make("span", "number", node.number));
  element.title = node.name;
  return element;
}

/** A button that selects a node, with a patch and a value from 0 to 1. */
function chip(node, value, words, picture) {
  const bar = make("span", "bar");
  bar.style.width = `${100 * Math.min(1, value)}%`;
  const element = button("node-chip", () => select(node), picture, make("span", "about-node", nameOf(node), make("span", "value", make("span", "track", bar), words)));
  element.dataset.node = node.key;
  element.setAttribute("aria-label", `${node.name}, ${words}`);
  return element;
}

/** A list of buttons, given as functions that make them; many of them on request. */
function chipList(className, chips, atFirst = CHIPS_AT_FIRST) {
  if (!chips.length) return "";
  const list = make("ul", `chips ${className}`);
  const add = (some) => list.append(...some.map((makeChip) => make("li", "", makeChip())));
  add(chips.slice(0, atFirst));
  if (chips.length <= atFirst) return list;
  const more = button("link", () => {
    add(chips.slice(atFirst));
    more.remove();
  }, `Show all ${count(chips.length)}`);
  return make("div", "", list, more);
}

/** Parents or children with the strengths of the edges to them. */
function edgeChips(className, edges, end) {
  return chipList(className, edges.map((edge) => () => chip(edge[end], edge.strength, edge.strength.toFixed(2), bestPatch(edge[end]))));
}
