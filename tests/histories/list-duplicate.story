duplicate elements: the list x holds 1 twice: [1, 2, 1]
  T1 = process 0 at gateway 1, 10 – 20, ok: append x 1
dirty write (G0): 2 transactions, each before the next, in a circle
  T1 = process 0 at gateway 1, 10 – 20, ok: append x 1
  T2 = process 1 at gateway 2, 12 – 22, ok: append x 2
  T1 before T2: T1 wrote x = 1, and next in its order is 2 of T2
  T2 before T1: T2 wrote x = 2, and next in its order is 1 of T1
