// What the browser keeps for the page. Where it keeps nothing, the page remembers for as long as it is open.

/** As much of `Storage` as the page uses; `setItem` throws where there is no room. */
export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export const local = opened(() => localStorage);
export const session = opened(() => sessionStorage);
/** Whether the tabs of this browser see the same `local`. */
export const isShared = local instanceof Storage;

/** Storage may be switched off, and then even its name throws. */
function opened(storage: () => Storage): Store {
  try {
    storage().getItem("");
    return storage();
  } catch {
    const items = new Map<string, string>();
    return { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value) };
  }
}

/** Keeps what nobody would miss, where there is room for it. */
export function remember(store: Store, key: string, value: string): void {
  try {
    store.setItem(key, value);
  } catch {
    // no room: forgotten
  }
}
