"""A pre-norm transformer block in PyTorch, before and after `anydrop.torch.DropoutAdd`."""

from torch import nn

import anydrop.torch


class Before(nn.Module):
    def __init__(self, width, heads, p):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop1, self.drop2 = nn.Dropout(p), nn.Dropout(p)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.drop1(self.attention(y, y, y, need_weights=False)[0])
        return x + self.drop2(self.ff(self.norm2(x)))


class After(nn.Module):
    def __init__(self, width, heads, p):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop1, self.drop2 = anydrop.torch.DropoutAdd(p), anydrop.torch.DropoutAdd(p)

    def forward(self, x):
        y = self.norm1(x)
        x = self.drop1(self.attention(y, y, y, need_weights=False)[0], x)
        return self.drop2(self.ff(self.norm2(x)), x)
