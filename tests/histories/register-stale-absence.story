stale read (G-single-realtime): 2 transactions, each before the next, in a circle
  T1 = process 1 at gateway 2, 50 – 60, ok: read x: no row
  T2 = process 0 at gateway 1, 10 – 20, ok: write x = 1
  T1 before T2: T1 found nothing at x, before T2 wrote 1
  T2 before T1: T2 was answered at 20, T1 began at 50
