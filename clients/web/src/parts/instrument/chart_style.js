// @ts-check
/** Colours and texts of the candle chart, read again with each change of theme or zone. */

import { color } from "../../appearance.js";
import { parse } from "../../decimals.js";
import { date, dateTime, minute, resolved, tradingDay } from "../../zones.js";
import { shortDate } from "./chart_marks.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const DASHED = 2; // LineStyle of lightweight-charts
const MONTH = 1; // TickMarkType: 0 year, 1 month, 2 day
const DIGITS = { least: 2, most: 8 };
const VOLUME_ALPHA = "80";

/** @typedef {import("../../instrument/candles.js").Bar} Bar */
/** @typedef {{tick: (at: number, type: number) => string, full: (at: number) => string}} TimeTexts */

/** @param {TimeTexts} texts */
export function chartOptions(texts) {
  const [line, dim, edge] = [color("line"), color("dim"), color("edge")];
  const cursor = { color: dim, labelBackgroundColor: edge };
  return {
    autoSize: true,
    layout: {
      background: { type: "solid", color: color("bg") }, textColor: dim, fontSize: 12, fontFamily: FONT,
      attributionLogo: false, // it would add a style element; the credit below the chart replaces it
      panes: { separatorColor: line, separatorHoverColor: line },
    },
    grid: { vertLines: { visible: false }, horzLines: { color: line } },
    crosshair: { mode: 0, vertLine: cursor, horzLine: cursor },
    rightPriceScale: { borderColor: line, minimumWidth: 72 },
    timeScale: { borderColor: line, timeVisible: true, rightOffset: 4, minBarSpacing: 0.8, maxBarSpacing: 40, tickMarkFormatter: texts.tick },
    localization: { timeFormatter: texts.full },
  };
}

/** Rising candles are hollow, falling ones filled. */
export function candleOptions() {
  const [up, down] = [color("up"), color("down")];
  return {
    upColor: "transparent", borderUpColor: up, wickUpColor: up,
    downColor: down, borderDownColor: down, wickDownColor: down, priceLineColor: color("dim"),
  };
}

/** @param {number} price @param {string} title */
export function lineOptions(price, title) {
  return { price, title, color: color("warn"), lineWidth: 1, lineStyle: DASHED, axisLabelVisible: true };
}

/** @param {boolean} isUp */
export function volumeColor(isUp) {
  const ink = color(isUp ? "up" : "down");
  return /^#[0-9a-f]{6}$/i.test(ink) ? ink + VOLUME_ALPHA : ink;
}

/**
 * Texts of the time axis, in the zone of the page. A bar of a day carries its trading day.
 * @param {() => string} interval @param {() => string} zone @param {(at: number) => Bar|undefined} barOf
 * @returns {TimeTexts}
 */
export function timeTexts(interval, zone, barOf) {
  return {
    tick(at, type) {
      if (interval() === "1d") return type <= MONTH ? monthText(at, type) : shortDate(date(at * 1000, "UTC"));
      const text = minute(at * 1000, zone());
      return text === "00:00" ? shortDate(date(at * 1000, zone())) : text;
    },
    full(at) {
      const bar = barOf(at);
      return bar ? barTime(bar, interval(), zone()) : dateTime(at * 1000, zone()).slice(0, 16);
    },
  };
}

/** The time of a bar as text: its trading day, or its start in the zone. @param {Bar} bar @param {string} interval @param {string} zone */
export function barTime({ start, end }, interval, zone) {
  return interval === "1d" ? tradingDay(end) : dateTime(start, zone).slice(0, 16);
}

/** The tooltip of a bar: its span in UTC, and in the zone if that is another one. @param {Bar} bar @param {string} zone */
export function barTooltip({ start, end }, zone) {
  const span = (/** @type {string} */ of) => `${dateTime(start, of).slice(0, 16)} – ${dateTime(end, of).slice(0, 16)}`;
  return resolved(zone) === "UTC" ? `${span("UTC")} UTC` : `${span(zone)} ${resolved(zone)} · ${span("UTC")} UTC`;
}

/** @param {number} at @param {number} type */
function monthText(at, type) {
  const day = date(at * 1000, "UTC");
  return type === MONTH ? shortDate(day).split(" ")[1] : day.slice(0, 4);
}

/** @param {Bar} bar */
export function point({ at, candle }) {
  return { time: at, open: Number(candle.open), high: Number(candle.high), low: Number(candle.low), close: Number(candle.close) };
}

/** As many decimals on the axis as the closes have, without trailing zeros. @param {Bar[]} bars */
export function priceFormat(bars) {
  const decimals = bars.map(({ candle }) => parse(candle.close.includes(".") ? candle.close.replace(/0+$/, "") : candle.close).scale);
  const precision = Math.min(DIGITS.most, Math.max(DIGITS.least, ...decimals));
  return { type: "price", precision, minMove: 10 ** -precision };
}
