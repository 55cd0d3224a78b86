import { readFileSync } from "node:fs";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// take.sh says which dashboard and which Prometheus; the page asks both of this server.
const { DASHBOARD_FILE, PROMETHEUS_URL } = process.env;

const dashboard = {
  name: "dashboard",
  configurePreviewServer(server) {
    server.middlewares.use("/dashboard.json", (_request, response) => {
      response.setHeader("content-type", "application/json");
      response.end(readFileSync(DASHBOARD_FILE));
    });
  },
};

export default defineConfig({
  plugins: [react(), dashboard],
  build: { chunkSizeWarningLimit: 10_000 },
  // The packages ask for these at load, as a Node program would have them.
  define: { "process.env.NODE_ENV": '"production"' },
  preview: {
    host: "127.0.0.1",
    proxy: { "/prometheus": { target: PROMETHEUS_URL, rewrite: (p) => p.replace("/prometheus", "") } },
  },
});
