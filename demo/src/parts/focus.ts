/** Moves the keyboard's place to the content: for when what had the focus goes away. */
export function focusMain(): void {
  document.getElementById("main")?.focus({ preventScroll: true });
}

/** The same where all of the content is another one, which is read from its top. */
export function focusNew(): void {
  focusMain();
  scrollTo(0, 0);
}
