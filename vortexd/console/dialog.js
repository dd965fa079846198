// The dialog in which a person confirms a change. It says what happens, asks for a reason, and shows the server's answer.

import { $, button, element } from "./dom.js";

// The longest reason that the server accepts.
const MOST_CHARACTERS = 500;
const UNKNOWN = "The connection broke, so this page doesn't know whether the server did it. Look at Audit before you try again.";

/**
 * Open the dialog.
 *
 * @param {object} options title; parts (elements that say what happens); action (the text of the button); needsReason;
 *   isReady (whether the button is enabled at once); submit (an async function of the reason. The dialog closes after it, unless it returns true);
 *   again (shows the new state, after somebody else was faster).
 */
export function openDialog({ title, parts, action, needsReason = true, isReady = true, submit, again }) {
  const dialog = $("act");
  const reason = element("input", { name: "reason", required: needsReason, maxlength: MOST_CHARACTERS, pattern: ".*\\S.*", autocomplete: "off", title: "up to 500 characters" });
  const problem = element("p", { class: "bad", role: "alert", hidden: true });
  const confirm = element("button", { type: "submit", class: "danger", disabled: !isReady }, action);
  const cancel = button("Cancel", () => dialog.close());
  const restart = button("Start again", () => again(), { hidden: true });
  const asked = element("label", {}, needsReason ? "Reason, for the audit log " : "Reason, for the audit log (optional) ", reason);
  const body = element("div", {}, ...parts);
  const buttons = element("div", { class: "buttons" }, cancel, restart, confirm);
  const form = element("form", { method: "dialog" }, element("h2", { id: "act-title" }, title), body, asked, problem, buttons);
  let [isBusy, isAllowed] = [false, isReady];
  const opened = {
    body,
    /** Enable or disable the button that confirms. */
    allow(isAllowedNow) {
      isAllowed = isAllowedNow;
      confirm.disabled = isBusy || !isAllowed;
    },
    /** Show an error, and offer to start again if the state has changed meanwhile. */
    complain(error) {
      problem.textContent = error.status === undefined ? UNKNOWN : error.sentence;
      problem.hidden = false;
      restart.hidden = again === undefined || ![404, 409].includes(error.status);
      if (restart.hidden) return;
      opened.allow(false);
      restart.focus();
    },
    /** Show only that something is done, with a button that closes the dialog. */
    finish(...content) {
      body.replaceChildren(...content);
      asked.remove();
      problem.hidden = true;
      buttons.replaceChildren(button("Close", () => dialog.close()));
      buttons.firstChild.focus();
    },
    get isOpen() {
      return dialog.open && dialog.firstChild === form;
    },
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy || !isAllowed) return;
    isBusy = cancel.disabled = confirm.disabled = true;
    problem.hidden = restart.hidden = true;
    try {
      const stays = await submit(reason.value.trim(), opened);
      if (!stays && opened.isOpen) dialog.close();
    } catch (error) {
      opened.complain(error);
    } finally {
      isBusy = cancel.disabled = false;
      opened.allow(isAllowed);
    }
  });
  // While the server works, the dialog stays: closing it wouldn't stop the server.
  dialog.oncancel = (event) => {
    if (isBusy) event.preventDefault();
  };
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
  return opened;
}
