// Asks Prometheus what a panel asks, and turns the answers into Grafana's data frames.
import { FieldType, toDataFrame } from "@grafana/data";

const POINTS = 240; // steps of a course: about two pixels each

export function timeRange(seconds) {
  const end = Math.floor(Date.now() / 1000);
  return { start: end - seconds, end, seconds, step: Math.max(1, Math.round(seconds / POINTS)) };
}

export async function framesOf(panel, range) {
  const answers = await Promise.all(
    panel.targets.map(async (target) => [target, await ask(target, range)]),
  );
  const asTable = panel.type === "table";
  return answers.flatMap(([target, found]) =>
    asTable ? tableFrame(target, found, panel.targets.length) : found.map((s) => course(target, s)),
  );
}

async function ask(target, range) {
  const query = filledIn(target.expr, range);
  const parameters = target.instant
    ? { query, time: range.end }
    : { query, start: range.start, end: range.end, step: range.step };
  const what = target.instant ? "query" : "query_range";
  const response = await fetch(`/prometheus/api/v1/${what}?${new URLSearchParams(parameters)}`);
  const answer = await response.json();
  if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`);
  return answer.data.result;
}

function filledIn(expression, range) {
  const scrape = Number(new URLSearchParams(location.search).get("scrape_s") ?? 15);
  // Grafana's rule: four scrapes, or a step and a scrape when that is longer.
  const rate = Math.max(range.step + scrape, 4 * scrape);
  return expression
    .replaceAll("$__rate_interval", `${rate}s`)
    .replaceAll("$__range", `${range.seconds}s`)
    .replaceAll(/\$(tier|model|group)\b/g, ".*");
}

function course(target, series) {
  const points = series.values ?? [series.value];
  const name = (target.legendFormat ?? "").replaceAll(/{{\s*(\w+)\s*}}/g, (_, l) => series.metric[l] ?? "");
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: "Time", type: FieldType.time, values: points.map(([t]) => t * 1000) },
      {
        name: "Value",
        type: FieldType.number,
        labels: series.metric,
        values: points.map(([, v]) => Number(v)),
        // Grafana shows a series whose legend comes out empty as "Value".
        config: { displayNameFromDS: name || "Value" },
      },
    ],
  });
}

function tableFrame(target, found, targetCount) {
  const labels = [...new Set(found.flatMap((series) => Object.keys(series.metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: "Time", type: FieldType.time, values: found.map((s) => s.value[0] * 1000) },
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        values: found.map((s) => s.metric[label] ?? ""),
      })),
      {
        name: targetCount > 1 ? `Value #${target.refId}` : "Value",
        type: FieldType.number,
        values: found.map((s) => Number(s.value[1])),
      },
    ],
  });
}
