dirty write (G0): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 50, ok: append x 1; append y 2
  T2 = process 1 at gateway 2, 12 – 52, ok: append x 3; append y 4
  T1 before T2: T1 wrote x = 1, and next in its order is 3 of T2
  T2 before T1: T2 wrote y = 4, and next in its order is 2 of T1
