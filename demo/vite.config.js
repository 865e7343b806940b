// The site as static files: the page, the worker, the service worker, and the artefacts by digest.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { defineConfig } from "vite";
import { artefacts } from "../packages/moderation/scripts/artefacts.mjs";

/** The releases that the site offers, as `src/releases.ts` has them: the default first. */
const releases = artefacts().map(({ path, sha256, bytes }) => ({ path, sha256, bytes, file: `artefacts/${sha256}.wasm` }));

/** Puts the artefacts into the site, under their digests. */
function withArtefacts() {
  return {
    name: "palisade-artefacts",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const release = releases.find(({ file }) => request.url?.endsWith(file));
        if (!release) return next();
        response.setHeader("content-type", "application/wasm");
        createReadStream(release.path).pipe(response);
      });
    },
    generateBundle() {
      for (const { file, path } of releases) this.emitFile({ type: "asset", fileName: file, source: readFileSync(path) });
    },
  };
}

/** Tells the service worker what the site consists of. */
function withPrecache() {
  return {
    name: "palisade-precache",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const worker = bundle["service-worker.js"];
        const files = Object.values(bundle).filter((file) => file !== worker && !file.fileName.startsWith("artefacts/"));
        const hash = createHash("sha256");
        for (const file of files) hash.update(file.fileName).update(file.type === "chunk" ? file.code : file.source);
        const list = JSON.stringify(["./", ...files.map(({ fileName }) => fileName).filter((name) => name !== "index.html")]);
        worker.code = worker.code.replace("__FILES__", () => list).replace("__VERSION__", () => JSON.stringify(hash.digest("hex").slice(0, 16)));
      },
    },
  };
}

/** Puts a brotli copy beside each file, for servers that have no time to compress. */
function withBrotli() {
  const compressed = promisify(brotliCompress);
  return {
    name: "palisade-brotli",
    enforce: "post",
    generateBundle: {
      order: "post",
      async handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          const content = Buffer.from(file.type === "chunk" ? file.code : file.source);
          const quality = content.length > 1 << 20 ? 9 : 11; // the last 1% of an artefact would cost a minute
          const params = { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
          this.emitFile({ type: "asset", fileName: `${file.fileName}.br`, source: await compressed(content, { params }) });
        }
      },
    },
  };
}

export default defineConfig({
  base: "./",
  define: { __RELEASES__: JSON.stringify(releases.map(({ file, sha256, bytes }) => ({ file, sha256, bytes }))) },
  server: { fs: { allow: [".."] } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      input: { index: "index.html", "service-worker": "src/service-worker.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "service-worker" ? "service-worker.js" : "assets/[name]-[hash].js") },
    },
  },
  worker: { format: "es" },
  plugins: [withArtefacts(), withPrecache(), withBrotli()],
});
