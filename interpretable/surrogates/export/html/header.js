/* What stands above everything: title, digest, what is known of the network and data, tables. */

const DIGEST_SHOWN = 12;

/** Fills the header; the words say what the digest is of. */
function showHeader(words) {
  const tables = data.tables.length ? make("details", "tables", make("summary", "", data.tables.length === 1 ? "Table" : `${data.tables.length} tables`), make("div", "", ...data.tables.map(table))) : "";
  document.getElementById("header").append(make("div", "masthead", make("h1", "", named(data.title)), digestButton(words)), pairs(data.about, "about"), tables);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((element) => (element.open = true)));
}

function digestButton(words) {
  const element = button("digest", async () => {
    element.lastChild.textContent = data.digest;
    getSelection().selectAllChildren(element.lastChild);
    try {
      await navigator.clipboard.writeText(data.digest);
      announce("The digest is copied.");
    } catch {
      announce("The digest is selected.");
    }
  }, "SHA-256 ", make("code", "", data.digest.slice(0, DIGEST_SHOWN)));
  element.title = `${data.digest}\n${words}; a click copies it.`;
  return element;
}

function table([title, rows]) {
  const [names = [], ...body] = rows;
  const numeric = names.map((_, column) => body.length > 0 && body.every((row) => /^[\s+\-−–±.,%\d()eE]*$/.test(row[column] ?? "")));
  const cells = (tag, row) => make("tr", "", ...row.map((text, column) => make(tag, numeric[column] ? "numeric" : "", named(text))));
  return make("figure", "", make("figcaption", "", named(title)), make("table", "", make("thead", "", cells("th", names)), make("tbody", "", ...body.map((row) => cells("td", row)))));
}
