internal contradiction: it read x = 2 although it had read 1
  T1 = process 2 at gateway 3, 12 – 52, ok: read x = 1; read x = 2
read skew over real time (G-single-realtime): 2 transactions, each before the next, in a circle
  T1 = process 2 at gateway 3, 12 – 52, ok: read x = 1; read x = 2
  T2 = process 1 at gateway 2, 10 – 50, ok: write x = 2
  T1 before T2: T1 read x = 1, which was there before T2 began, and T2 wrote 2
  T2 before T1: T2 wrote x = 2, which T1 read
