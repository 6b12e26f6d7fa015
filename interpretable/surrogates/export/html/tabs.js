/* Tabs above a panel. */

function tabbed() {
  const tabs = make("div", "tabs");
  const panel = make("div", "panel");
  panel.id = "panel";
  tabs.setAttribute("role", "tablist");
  panel.setAttribute("role", "tabpanel");
  tabs.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    tabs.querySelector("[aria-selected='false']").click();
  });
  return { tabs, panel };
}

/** Makes the tabs anew and keeps the keyboard on them where it was; one of them is selected. */
function fillTabs(tabs, panel, entries) {
  const hadFocus = tabs.contains(document.activeElement);
  const elements = entries.map(({ id, text, selected, open }) => {
    const element = button("tab", open, text);
    element.id = id;
    element.setAttribute("role", "tab");
    element.setAttribute("aria-selected", selected);
    element.setAttribute("aria-controls", panel.id);
    element.tabIndex = selected ? 0 : -1;
    return element;
  });
  tabs.replaceChildren(...elements);
  const selected = elements.find((_, index) => entries[index].selected);
  panel.setAttribute("aria-labelledby", selected.id);
  if (hadFocus) selected.focus();
}
