incompatible order: the first read x = [2, 1], the second [1, 2]
  T1 = process 3 at gateway 1, 30 – 40, ok: list x = [2, 1]
  T2 = process 2 at gateway 3, 30 – 40, ok: list x = [1, 2]
