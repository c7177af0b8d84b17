intermediate read (G1b): the first read x = 1, which the second replaced before it committed
  T1 = process 1 at gateway 2, 20 – 40, ok: list x = [1]
  T2 = process 0 at gateway 1, 10 – 50, ok: append x 1; append x 2
read skew (G-single): 2 transactions, each before the next, in a circle
  T1 = process 1 at gateway 2, 20 – 40, ok: list x = [1]
  T2 = process 0 at gateway 1, 10 – 50, ok: append x 1; append x 2
  T1 before T2: T1 read x = 1, before T2 wrote 2
  T2 before T1: T2 wrote x = 1, which T1 read
