stale read (G-single-realtime): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 50 – 60, ok: list x = [1]
  T2 = process 1 at gateway 2, 30 – 40, ok: append x 2
  T1 before T2: T1 read x = 1, before T2 wrote 2
  T2 before T1: T2 was answered at 40, T1 began at 50
