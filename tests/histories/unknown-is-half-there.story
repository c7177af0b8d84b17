read skew over real time (G-single-realtime): 3 transactions, each before the next, in a circle
  T1 = process 3 at gateway 1, 70 – 80, ok: read y = 2
  T2 = process 1 at gateway 2, 10 – ?, unknown: read y = 2; write x = 3; write y = 4
  T3 = process 2 at gateway 3, 50 – 60, ok: read x = 3
  T1 before T2: T1 read y = 2, before T2 wrote 4
  T2 before T3: T2 wrote x = 3, which T3 read
  T3 before T1: T3 was answered at 60, T1 began at 70
