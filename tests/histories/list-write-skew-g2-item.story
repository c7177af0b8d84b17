write skew (G2-item): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 50, ok: list x = []; append y 1
  T2 = process 1 at gateway 2, 12 – 52, ok: list y = []; append x 2
  T1 before T2: T1 found nothing at x, before T2 wrote 2
  T2 before T1: T2 found nothing at y, before T1 wrote 1
