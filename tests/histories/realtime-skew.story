causal reverse (G-single-realtime): 3 transactions, each before the next, in a circle
  T1 = process 3 at gateway 1, 8 – 60, ok: read x = 1; read y = 4
  T2 = process 1 at gateway 2, 10 – 20, ok: read x = 1; write x = 3
  T3 = process 2 at gateway 3, 30 – 40, ok: read y = 2; write y = 4
  T1 before T2: T1 read x = 1, before T2 wrote 3
  T2 before T3: T2 was answered at 20, T3 began at 30
  T3 before T1: T3 wrote y = 4, which T1 read
