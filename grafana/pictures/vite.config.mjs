// One bundle of the page; its data is served beside it.
import { defineConfig } from 'vite';

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  define: { 'process.env.NODE_ENV': '"production"' },
  build: {
    chunkSizeWarningLimit: 20_000,
    reportCompressedSize: false,
    // The code editor and the maps, which Grafana's components load only when they are shown.
    rollupOptions: { external: [/^monaco-editor/, /^react-monaco-editor/, /^ol($|\/)/] },
  },
});
