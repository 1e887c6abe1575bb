// @ts-check
/** Arrow keys in a table: one cell is reached by Tab, the keys move from there (roving tabindex). */

/** key -> rows and columns @type {Record<string, [number, number]>} */
const STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  PageUp: [-10, 0],
  PageDown: [10, 0],
};

/**
 * Cells with a `data-key` take part; a link in a cell takes the focus in place of the cell. Call
 * `refresh` after each change of the rows.
 * @param {HTMLTableElement} table
 */
export function roving(table) {
  let key = ""; // of the cell that Tab reaches
  const body = table.tBodies[0];
  const target = (/** @type {Element} */ cell) => /** @type {HTMLElement} */ (cell.querySelector("a, button") ?? cell);
  const rows = () => [...body.rows].map((row) => /** @type {HTMLElement[]} */ ([...row.querySelectorAll("[data-key]")])).filter((row) => row.length);
  const cellOf = (/** @type {any} */ node) => /** @type {HTMLElement | null} */ (node?.closest?.("[data-key]") ?? null);

  function choose(/** @type {HTMLElement} */ cell) {
    const before = body.querySelector('[tabindex="0"]');
    if (before && before !== target(cell)) before.setAttribute("tabindex", "-1");
    target(cell).tabIndex = 0;
    key = cell.dataset.key ?? "";
  }

  function pressed(/** @type {KeyboardEvent} */ event) {
    const cell = cellOf(event.target);
    if (!cell || event.altKey || event.metaKey || event.shiftKey) return;
    const all = rows();
    const row = all.findIndex((cells) => cells.includes(cell));
    const next = landing(all, row, all[row].indexOf(cell), event);
    if (!next) return;
    event.preventDefault();
    event.stopPropagation(); // these keys are not those of the view
    choose(next);
    target(next).focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  table.addEventListener("keydown", pressed);
  table.addEventListener("focusin", (event) => {
    const cell = cellOf(event.target);
    if (cell) choose(cell);
  });
  return {
    /** Whether the focus is in the cells, to restore it after new rows. */
    focused: () => body.contains(document.activeElement),
    /** Make the chosen cell reachable again, and give it the focus. @param {boolean} [focus] */
    refresh(focus = false) {
      const cells = rows().flat();
      for (const cell of cells) target(cell).tabIndex = -1;
      const cell = cells.find((each) => each.dataset.key === key) ?? cells[0];
      if (!cell) return;
      choose(cell);
      if (focus) target(cell).focus();
    },
  };
}

/** The cell behind a key, or null. @param {HTMLElement[][]} rows @param {number} row @param {number} column @param {KeyboardEvent} event */
function landing(rows, row, column, { key, ctrlKey }) {
  const clamp = (/** @type {number} */ value, /** @type {number} */ length) => Math.min(Math.max(value, 0), length - 1);
  if (key === "Home") return rows[ctrlKey ? 0 : row][0];
  if (key === "End") return rows[ctrlKey ? rows.length - 1 : row].at(-1) ?? null;
  if (ctrlKey || !(key in STEPS)) return null;
  const cells = rows[clamp(row + STEPS[key][0], rows.length)];
  return cells[clamp(column + STEPS[key][1], cells.length)];
}
