/* A node as a card of its layer's column. */

const PATCHES = 4;

function cardOf(node) {
  const bar = make("span", "bar");
  bar.style.width = `${(100 * (node.score ?? 0)) / (highestScore || 1)}%`;
  const score = make("span", "score", make("span", "track", bar), make("span", "value", number(node.score, 2)));
  const purity = make("span", "purity", node.purity === null ? "" : percent(node.purity));
  purity.title = "Purity: how often the node is on this part";
  score.title = "Score over the mean of the layer's nodes";
  const patches = make("span", "patches", ...node.topImages.slice(0, PATCHES).map((image) => patch(node, image)));
  const card = make("li", "card", make("span", "heading", nameOf(node), purity), score, patches);
  card.dataset.node = node.key;
  card.tabIndex = -1;
  card.setAttribute("role", "option");
  card.setAttribute("aria-label", [node.name, `score ${number(node.score, 2)}`, ...(node.purity === null ? [] : [`purity ${percent(node.purity)}`])].join(", "));
  return card;
}

function percent(share) {
  return `${(100 * share).toFixed(0)} %`;
}
