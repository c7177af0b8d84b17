anti-dependency cycle (G2-item): 3 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 50, ok: list x = []; append y 1
  T2 = process 2 at gateway 3, 14 – 54, ok: list z = []; append x 3
  T3 = process 1 at gateway 2, 12 – 52, ok: list y = []; append z 2
  T1 before T2: T1 found nothing at x, before T2 wrote 3
  T2 before T3: T2 found nothing at z, before T3 wrote 2
  T3 before T1: T3 found nothing at y, before T1 wrote 1
