// What a style sheet cannot do: paper, links into folds, reaching by keyboard what scrolls sideways, formulas and names
// in code on narrow screens and at the end of a line, and names of buttons.
"use strict";

// On paper the theme is light, every fold is open and no formula is wider than the sheet; afterwards all is as it was.
(() => {
  const root = document.documentElement;
  const SHEET = 590, SMALLER = 0.82;  // pixels a formula in a box has on A4; the size of formulas there, see book.css
  let theme = null, closed = [];
  addEventListener("beforeprint", () => {
    if (theme !== null) return;
    theme = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    closed = [...document.querySelectorAll("article details:not([open])")];
    closed.forEach(fold => { fold.open = true });
    document.querySelectorAll("article div.math").forEach(formula => {
      if (formula.scrollWidth * SMALLER > SHEET) formula.style.fontSize = `${SHEET / formula.scrollWidth}em`;
    });
  });
  addEventListener("afterprint", () => {
    if (theme === null) return;
    root.dataset.theme = theme;
    closed.forEach(fold => { fold.open = false });
    document.querySelectorAll("article div.math").forEach(formula => formula.style.removeProperty("font-size"));
    theme = null;
  });
})();

// A link to something in a closed fold opens the fold, also where the browser does not do it by itself.
(() => {
  const reveal = hash => {
    const target = document.getElementById(hash.slice(1));
    let fold = target?.parentElement.closest("details:not([open])");
    const opened = fold ? target : null;
    for (; fold; fold = fold.parentElement.closest("details:not([open])")) fold.open = true;
    return opened;
  };
  document.addEventListener("click", event => reveal(event.target.closest("article a[href^='#']")?.hash ?? ""));
  reveal(location.hash)?.scrollIntoView();
})();

// On a phone formulas begin at the left: centred, one with a number would have the number's width on both sides.
if (window.MathJax && matchMedia("(max-width: 600px)").matches) {
  window.MathJax.svg = { displayAlign: "left", displayIndent: "0" };
}

// A comma stays with the formula before it, and a bracket with the one behind it: between a formula and text a browser
// would break the line anywhere. A long formula, which may fill a line on a phone, is left alone.
document.querySelectorAll("article span.math").forEach(formula => {
  if (formula.textContent.length > 80) return;
  const [before, behind] = [formula.previousSibling, formula.nextSibling];
  const opening = before?.nodeType === Node.TEXT_NODE && /[(\[“]+$/.exec(before.data)?.[0];
  const closing = behind?.nodeType === Node.TEXT_NODE && /^[.,;:!?)\]’”]+/.exec(behind.data)?.[0];
  if (!opening && !closing) return;
  const together = document.createElement("span");
  together.className = "with-mark";
  formula.replaceWith(together);
  if (opening) before.data = before.data.slice(0, -opening.length);
  if (closing) behind.data = behind.data.slice(closing.length);
  together.append(opening || "", formula, closing || "");
});

// In a narrow column a name in code breaks behind a dot or an underscore, and nowhere else.
document.querySelectorAll("article td code.literal .pre").forEach(name => {
  const parts = name.textContent.split(/(?<=[._])(?=\w)/);
  name.replaceChildren(...parts.flatMap((part, i) => i ? [document.createElement("wbr"), part] : [part]));
});

// What is wider than its frame can be focused, so that the arrow keys scroll it; nothing else is a stop of the tab key.
(() => {
  const NAMES = [
    ["div.math, mjx-container", "formula"],
    ["pre", "code or output"],
    [".cell_output .text_html, .cell_output .text_html > div, .pst-scrollable-table-container, div.framed", "table"],
  ];
  const mark = () => {
    for (const [selector, name] of NAMES) {
      document.querySelectorAll(selector.split(", ").map(s => `article ${s}`).join(", ")).forEach(box => {
        const scrolls = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
        if (scrolls) {
          box.tabIndex = 0;
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", `${name}, scrolls sideways`);
          box.dataset.scrolls = "";
        } else if ("scrolls" in box.dataset) {
          ["tabindex", "role", "aria-label", "data-scrolls"].forEach(attribute => box.removeAttribute(attribute));
        }
      });
    }
  };
  let waiting;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(mark, 100) };
  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(soon));
  addEventListener("resize", soon);
  document.addEventListener("toggle", soon, true);  // a fold was opened
  // Whatever else changes widths, as fonts that arrive late, changes the article's size.
  addEventListener("DOMContentLoaded", () => new ResizeObserver(soon).observe(document.querySelector("article")));
})();

// Two buttons of the theme: one has another name than is written on it, the other none.
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".search-button-field").forEach(button => button.removeAttribute("aria-label"));
  document.querySelectorAll("nav .has-children > details > summary").forEach(summary => {
    summary.setAttribute("aria-label", `Pages of ${summary.closest(".has-children").querySelector("a").textContent.trim()}`);
  });
});
