read skew (G-single): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 12 – 52, ok: read x = 3; read y = 2
  T2 = process 1 at gateway 2, 10 – 50, ok: read x = 1; read y = 2; write x = 3; write y = 4
  T1 before T2: T1 read y = 2, before T2 wrote 4
  T2 before T1: T2 wrote x = 3, which T1 read
