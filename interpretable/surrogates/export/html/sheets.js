/* Pictures cut from sheets of thumbnails. */

const sheetsShown = new Set();

/** Makes a sheet the background of its class; one that is still being read follows when the page is complete. */
function showSheet(sheet) {
  const source = document.getElementById(`sheet-${sheet}`);
  if (!source || sheetsShown.has(sheet)) return;
  sheetsShown.add(sheet);
  document.styleSheets[0].insertRule(`.sheet-${sheet} { background-image: url("${source.textContent}"); }`);
}

const sheetsWaiting = new Set();
document.addEventListener("DOMContentLoaded", () => sheetsWaiting.forEach(showSheet));

/** A part of a thumbnail's square, by the shares of it that are left of and above the part, and the part's own. */
function sprite([sheet, column, row], className, description, { left = 0, top = 0, width = 1, height = 1 } = {}) {
  const [columns, rows] = data.sheets[sheet];
  const element = make("span", `${className} sheet-${sheet}`);
  const share = (before, part, all) => (all > part ? (100 * before) / (all - part) : 0);
  element.style.backgroundSize = `${(100 * columns) / width}% ${(100 * rows) / height}%`;
  element.style.backgroundPosition = `${share(column + left, width, columns)}% ${share(row + top, height, rows)}%`;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", description);
  element.title = description;
  sheetsWaiting.add(sheet);
  showSheet(sheet);
  return element;
}
