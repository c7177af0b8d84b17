non-monotonic read (G-single-process): 3 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 30 – 40, ok: read counter = 1
  T2 = process 1 at gateway 2, increment, 10 – 60, ok: read counter = 1; write counter = 2
  T3 = process 2 at gateway 3, 15 – 20, ok: read counter = 2
  T1 before T2: T1 read counter = 1, before T2 wrote 2
  T2 before T3: T2 wrote counter = 2, which T3 read
  T3 before T1: T3 was answered at 20, T1 began at 30
