// Draws one dashboard as Grafana lays it out, for a picture; nothing here is interactive.
import { createTheme, dateTime, ThemeContext } from "@grafana/data";
import { BigValue, BigValueColorMode, BigValueGraphMode, GlobalStyles, PanelChrome, Table, TimeSeries } from "@grafana/ui";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { configured, transformed } from "./fields.js";
import { framesOf, timeRange } from "./queries.js";

const COLUMNS = 24;
const CELL_HEIGHT = 38; // px: 30 of a grid row and 8 between two
const GAP = 8;

const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: asked.get("theme") ?? "dark" } });
const range = timeRange(Number(asked.get("range_s") ?? 21_600));
const shown = {
  from: dateTime(range.start * 1000),
  to: dateTime(range.end * 1000),
  raw: { from: `now-${range.seconds}s`, to: "now" },
};

function Dashboard() {
  const [board, setBoard] = useState(null);
  useEffect(() => void loaded().then(setBoard), []);
  if (!board) return null;
  const bottom = Math.max(...board.panels.map(({ gridPos: g }) => g.y + g.h));
  return (
    <main style={{ position: "relative", height: bottom * CELL_HEIGHT + GAP, background: theme.colors.background.canvas }}>
      {board.panels.map((panel) => (
        <Placed key={panel.id} panel={panel} />
      ))}
    </main>
  );
}

async function loaded() {
  const board = await (await fetch("/dashboard.json")).json();
  for (const panel of board.panels.filter((p) => p.type !== "row")) {
    panel.frames = configured(panel, await transformed(panel, await framesOf(panel, range)), theme);
  }
  return board;
}

function Placed({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const column = (window.innerWidth - GAP) / COLUMNS;
  const width = w * column - GAP;
  const height = h * CELL_HEIGHT - GAP;
  const place = { position: "absolute", left: GAP + x * column, top: GAP + y * CELL_HEIGHT, width, height };
  if (panel.type === "row") {
    return <h2 style={{ ...place, ...theme.typography.h5, color: theme.colors.text.primary, margin: 0 }}>{panel.title}</h2>;
  }
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(innerWidth, innerHeight) => <Drawn panel={panel} width={innerWidth} height={innerHeight} />}
      </PanelChrome>
    </div>
  );
}

function Drawn({ panel, width, height }) {
  const { frames, options } = panel;
  if (panel.type === "stat") return <Stat panel={panel} width={width} height={height} />;
  if (panel.type === "table") {
    const narrowest = panel.fieldConfig.defaults.custom?.minWidth;
    return <Table data={sorted(frames[0], options.sortBy)} width={width} height={height} columnMinWidth={narrowest} />;
  }
  return (
    <TimeSeries frames={frames} width={width} height={height} timeRange={shown} timeZone="utc" legend={options.legend} options={options} />
  );
}

function Stat({ panel, width, height }) {
  const field = panel.frames[0].fields[1];
  const last = field.values[field.values.length - 1];
  const graph = panel.options.graphMode === "area";
  const [min, max] = [Math.min(...field.values), Math.max(...field.values)];
  field.state = { ...field.state, range: { min, max, delta: max - min } };
  return (
    <BigValue
      width={width}
      height={height}
      theme={theme}
      colorMode={BigValueColorMode.Value}
      graphMode={graph ? BigValueGraphMode.Area : BigValueGraphMode.None}
      value={field.display(last)}
      sparkline={graph ? { y: field, x: panel.frames[0].fields[0] } : undefined}
    />
  );
}

function sorted(frame, sortBy = []) {
  const key = frame.fields.find((field) => (field.config.displayName ?? field.name) === sortBy[0]?.displayName);
  if (!key) return frame;
  const order = [...key.values.keys()].sort((a, b) => (key.values[b] - key.values[a]) * (sortBy[0].desc ? 1 : -1));
  const fields = frame.fields.map((field) => ({ ...field, values: order.map((row) => field.values[row]) }));
  return { ...frame, fields };
}

createRoot(document.getElementById("root")).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Dashboard />
  </ThemeContext.Provider>,
);
