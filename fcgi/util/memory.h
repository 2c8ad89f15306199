/* memory.h - what a burst of calls took goes back to the kernel when it is over.
 *
 * malloc keeps what is freed wherever a block in use lies behind it, and after a burst some always
 * do: left alone, a process stays as large as the most calls it ever served at once have made it.
 * Giving back costs milliseconds, and pages that are taken anew some more, so it is done when no
 * call is under way, and while they never pause, once a minute.
 *
 * For the whole process. One thread asks and gives back; any may allocate meanwhile.
 */
#pragma once

#include "util/base.h"

/* Sets malloc's own limits. Before there are threads. */
void memory_init(void);
/* At the beginning of a thread that serves calls. */
void memory_thread_init(void);
/* True when enough pages have come since all was given back, and the last time is long enough ago.
 * busy: calls are under way. */
bool memory_due(bool busy);
/* Gives back what is free. busy: what is in use now will be due when it no longer is. */
void memory_give_back(bool busy);
