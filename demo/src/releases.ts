// The releases that the site can load.

/** What the build puts in, the default release first; see vite.config.js. */
declare const __RELEASES__: { file: string; sha256: string; bytes: number }[];

/** A release, before it is loaded. */
export interface ReleaseChoice {
  id: "default" | "small";
  title: string;
  url: string;
  sha256: string;
  bytes: number;
}

const TITLES = [
  { id: "default", title: "Default" },
  { id: "small", title: "Small" },
] as const;

/** All of them, the default first. */
export const releases: ReleaseChoice[] = __RELEASES__.flatMap(({ file, sha256, bytes }, i) => {
  const names = TITLES[i];
  return names ? [{ ...names, sha256, bytes, url: new URL(file, document.baseURI).href }] : [];
});
