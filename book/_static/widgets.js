// The icon fonts of the widget manager lie beside it, not where the name of its module says.
require.config({
  paths: { "@jupyter-widgets/html-manager/dist": new URL("vendor", document.currentScript.src).href },
});

// The widget manager asks for formulas in the manner of MathJax 2; the pages have MathJax 3.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.MathJax) return; // a page without a formula
  const typeset = ([, , element]) => {
    element.classList.add("mathjax_process"); // elsewhere Sphinx tells MathJax to leave text alone
    MathJax.startup.promise.then(() => MathJax.typesetPromise([element]));
  };
  MathJax.Hub = { Queue: typeset };
});
