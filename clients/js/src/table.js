/** A table of prices as text, one line per instrument, with aligned columns. */
export function priceTable(bodies) {
  const rows = [...bodies]
    .sort((a, b) => (a.instrument < b.instrument ? -1 : 1))
    .map(({ instrument, price }) => [instrument, price.bid, price.ask, price.mid, price.time]);
  if (!rows.length) return "no prices yet";
  const all = [["instrument", "bid", "ask", "mid", "time"], ...rows];
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const line = (row) =>
    row
      .map((cell, column) => (column === 0 || column === 4 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd();
  return all.map(line).join("\n");
}
