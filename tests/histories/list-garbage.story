garbage read: it read x = 7, which nobody wrote
  T1 = process 0 at gateway 1, 10 – 20, ok: list x = [7]
