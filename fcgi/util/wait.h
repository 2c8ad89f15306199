/* wait.h - a thread tells that it is about to wait: for the database, a slow peer, another thread,
 * or through work that takes as long.
 *
 * Whoever keeps something that others could use meanwhile hears of it:
 *
 *   wait_hear(let_go, ctx);       once, by the thread itself
 *   wait_begins();                before each waiting; nobody listens: nothing happens
 */
#pragma once

/* fn(ctx) is called by wait_begins of this thread; NULL: nobody listens any more. */
void wait_hear(void (*fn)(void *ctx), void *ctx);
void wait_begins(void);
