circular information flow (G1c): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 50, ok: append x 1; list y = [2]
  T2 = process 1 at gateway 2, 12 – 52, ok: append y 2; list x = [1]
  T1 before T2: T1 wrote x = 1, which T2 read
  T2 before T1: T2 wrote y = 2, which T1 read
