read skew (G-single): 2 transactions, each before the next, in a circle
  T1 = process 1 at gateway 2, 20 – 60, ok: list x = [1]; list y = []
  T2 = process 0 at gateway 1, 10 – 50, ok: append x 1; append y 2
  T1 before T2: T1 found nothing at y, before T2 wrote 2
  T2 before T1: T2 wrote x = 1, which T1 read
