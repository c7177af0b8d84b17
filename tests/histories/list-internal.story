internal contradiction: it read x = [], which does not end with its own [1]
  T1 = process 0 at gateway 1, 10 – 20, ok: append x 1; list x = []
