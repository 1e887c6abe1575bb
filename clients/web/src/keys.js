// @ts-check
/** Keyboard shortcuts. They are inactive in input fields, with Ctrl, Alt or Meta, and when switched off. */

const SEQUENCE_MS = 1_500; // between `g` and the letter of a view

/** @param {import("./types.js").Settings} settings @returns {import("./types.js").Keys} */
export function createKeys(settings) {
  /** Tables, the newest last. @type {import("./types.js").KeyTable[]} */
  const tables = [];
  let prefix = "";
  let timer = 0;

  /** @param {string} key */
  function find(key) {
    for (const table of [...tables].reverse()) if (Object.hasOwn(table, key)) return table[key];
    return undefined;
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    if (!settings.get("shortcuts") || event.defaultPrevented || isForeign(event)) return;
    const key = prefix ? `${prefix} ${event.key}` : event.key;
    clearTimeout(timer);
    prefix = "";
    const bound = find(key);
    if (bound) {
      event.preventDefault();
      bound.run(event);
    } else if (tables.some((table) => Object.keys(table).some((name) => name.startsWith(`${key} `)))) {
      prefix = key;
      timer = window.setTimeout(() => (prefix = ""), SEQUENCE_MS);
    }
  }

  document.addEventListener("keydown", pressed);
  return {
    bind(table) {
      tables.push(table);
      return () => {
        const index = tables.indexOf(table);
        if (index >= 0) tables.splice(index, 1);
      };
    },
    /** All bound keys with their labels, the global ones first. */
    list: () => Object.entries(Object.assign({}, ...tables)).map(([key, { label }]) => ({ key, label })),
  };
}

/** Whether the key belongs to a field, to a dialog, or to the browser. @param {KeyboardEvent} event */
function isForeign({ ctrlKey, altKey, metaKey, isComposing, target }) {
  if (ctrlKey || altKey || metaKey || isComposing) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("dialog[open]")) return true;
  return target.matches("select, textarea, input:not([type=checkbox], [type=radio], [type=button])");
}
