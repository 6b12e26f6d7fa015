/* Contributions as bars, scores on a line. */

const BARS_AT_FIRST = 12;

/** Bars as they are stored, a name's number and a value in turn. */
function barsOf(flat) {
  return Array.from({ length: flat.length / 2 }, (_, index) => ({ name: data.names[flat[2 * index]], value: flat[2 * index + 1] }));
}

/** How far bars reach to the left and to the right of zero. */
function reachOf(bars) {
  const values = bars.map((bar) => bar.value ?? 0);
  return [Math.max(0, ...values.map((value) => -value)), Math.max(0, ...values)];
}

/** Rows of name, bar and value; positive values go right, negative ones left, all on one scale. */
function barList(bars, reach = reachOf(bars), atFirst = BARS_AT_FIRST) {
  if (!bars.length) return "";
  const [left, right] = reach;
  const whole = left + right || 1;
  const decimals = decimalsOf([left, right]);
  const list = make("ul", "bars");
  const add = (some) => list.append(...some.map((bar) => barRow(bar, left, whole, decimals)));
  add(bars.slice(0, atFirst));
  if (bars.length <= atFirst) return list;
  const more = button("link", () => {
    add(bars.slice(atFirst));
    more.remove();
  }, `Show all ${bars.length}`);
  return make("div", "", list, more);
}

function barRow({ name, value }, left, whole, decimals) {
  const bar = make("span", value < 0 ? "bar negative" : "bar positive");
  bar.style.left = `${(100 * (left + Math.min(0, value ?? 0))) / whole}%`;
  bar.style.width = `${(100 * Math.abs(value ?? 0)) / whole}%`;
  const zero = make("span", "zero");
  zero.style.left = `${(100 * left) / whole}%`;
  return make("li", "", named(name, "name"), make("span", "track", bar, zero), make("span", "value", number(value, decimals, "+")));
}

/** Predicted score as a dot and the network's own as a ring, on a line from the lowest to the highest score. */
function scoreLine(predicted, own, low, high) {
  const share = (value) => (high > low ? 4 + (92 * (value - low)) / (high - low) : 50);
  const mark = (className, value) => {
    if (value === null) return "";
    const element = make("span", className);
    element.style.left = `${share(value)}%`;
    return element;
  };
  const line = make("span", "score-line", mark("own", own), mark("predicted", predicted));
  line.setAttribute("aria-hidden", "true");
  return line;
}
