read from the future (G1c-realtime): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 20, ok: list x = [1]
  T2 = process 1 at gateway 2, 30 – 40, ok: append x 1
  T1 before T2: T1 was answered at 20, T2 began at 30
  T2 before T1: T2 wrote x = 1, which T1 read
