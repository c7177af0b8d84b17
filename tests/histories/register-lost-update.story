lost update: 2 transactions, each before the next, in a circle
  T1 = process 1 at gateway 2, 10 – 50, ok: read x = 1; write x = 2
  T2 = process 2 at gateway 3, 12 – 52, ok: read x = 1; write x = 3
  T1 before T2: T1 read x = 1, before T2 wrote 3
  T2 before T1: T2 read x = 1, before T1 wrote 2
