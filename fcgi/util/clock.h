/* clock.h - the only place that asks for the time. Wall time for what is stored or shown,
 * monotonic time for every duration and deadline. */
#pragma once

#include "util/base.h"

int64_t clock_unix_s(void);
int64_t clock_unix_us(void);
int64_t clock_mono_us(void);
int64_t clock_mono_ms(void);
