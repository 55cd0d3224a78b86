// Gives each field what the panel's JSON says about it: unit, colour, stacking, thresholds.
import {
  getDisplayProcessor,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from "@grafana/data";
import { lastValueFrom } from "rxjs";

// Some transformations are exported under two names; the registry takes each id once.
const byId = new Map(Object.values(standardTransformers).map((found) => [found.id, found]));
standardTransformersRegistry.setInit(() =>
  [...byId.values()].map((found) => ({
    id: found.id,
    name: found.name,
    transformation: () => Promise.resolve(found),
  })),
);

// What Grafana's time series panel assumes where the JSON says nothing.
const SERIES_DEFAULTS = {
  drawStyle: "line",
  lineInterpolation: "linear",
  lineWidth: 1,
  fillOpacity: 0,
  showPoints: "auto",
  axisPlacement: "auto",
  scaleDistribution: { type: "linear" },
  stacking: { mode: "none", group: "A" },
  hideFrom: { legend: false, tooltip: false, viz: false },
};

export async function transformed(panel, frames) {
  const steps = panel.transformations ?? [];
  return steps.length ? lastValueFrom(transformDataFrame(steps, frames)) : frames;
}

export function configured(panel, frames, theme) {
  const { defaults, overrides } = panel.fieldConfig;
  const isSeries = panel.type === "timeseries";
  const fallback = { mode: isSeries ? "palette-classic" : "thresholds" };
  let seriesIndex = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const name = field.config.displayNameFromDS ?? field.config.displayName ?? field.name;
      const custom = isSeries ? { ...SERIES_DEFAULTS, ...defaults.custom } : { ...defaults.custom };
      const own = field.type === "number" ? { color: fallback, ...defaults } : {};
      field.config = { ...field.config, ...own, custom };
      for (const { matcher, properties } of overrides) {
        if (matcher.id === "byName" && matcher.options === name) override(field.config, properties);
      }
      if (field.type === "number") field.state = { ...field.state, displayName: name, seriesIndex: seriesIndex++ };
      field.display = getDisplayProcessor({ field, theme });
    }
  }
  return frames;
}

function override(config, properties) {
  for (const { id, value } of properties) {
    if (id.startsWith("custom.")) config.custom[id.slice("custom.".length)] = value;
    else config[id] = value;
  }
}
