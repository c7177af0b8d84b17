long fork (G2-item): 4 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 40, ok: write x = 1
  T2 = process 2 at gateway 3, 15 – 45, ok: read x = 1; read y: no row
  T3 = process 1 at gateway 2, 10 – 40, ok: write y = 2
  T4 = process 3 at gateway 1, 15 – 45, ok: read x: no row; read y = 2
  T1 before T2: T1 wrote x = 1, which T2 read
  T2 before T3: T2 found nothing at y, before T3 wrote 2
  T3 before T4: T3 wrote y = 2, which T4 read
  T4 before T1: T4 found nothing at x, before T1 wrote 1
