"""Land and sea in cells of one degree, 80 N to 55 S: a backdrop for maps, small enough for the source.

Rasterised from the 1:110m countries of Natural Earth (public domain, naturalearthdata.com), packed to bits,
deflated and written in base 85.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt

NORTH, SOUTH = 80, -55  # degrees of latitude of the upper and lower edge
_BITS = (
    "c-p0y&2HU96o8NKT;d=ub)_u0f+~*aqB|NkD3vaC9)Ne?cFXD_7EPrp9>gLWq-<FL;SqQPEM*ZEpuoODjv_%95uGTDIE_2Q8Qb%3"
    "=SPeb$#?wu_{{l_0n|!_C^I2f0T78=?dNOYuW9<_E0H#=p!l25^{vWhlY1~ps@T9YBX7fp9}{x8SCJMr+c}jQF%OQ!{_k=#ci<Rz"
    "PynhQUs!N4g>hB_qz=4_e|YB7lPuuLs~=u8CJ|ikZlOr|^ic_=tpz_m$wYfk8x0sdd)S<!iki)$-98uPzZoj+!O?kp<Vxw1$=4E5"
    "rKoQMpR~r5Vxmi-S7Q@2z>YW-JpblMP?C4Mq<O)q1&gzqcDDWV<%6>$fy%c&X`D|F`7>cJ2Kw^+Xpa%C94dM!#H9m^uXBA#vl`)I"
    "JZ+SF^I8OJS6{s*Vj77G5~-~?;7P!ah&jMMsvyl*OT+K-+-EtIdT)O%LAY#eAB!whf;Z>yf^DA^khNaQ>bwso)+L5{+QNAiz%MX^"
    "5N_XC13_OB+QPN32A6js`z_M&x{i7t`*0%n-zgwd8f|q!NFP<6;b;@wKo*_eCZ+M9)k7Bs*p_!D&{>2<D(*>fhq(ttDb2lw^jCWX"
    "l~GagZsEcewBb*o%TsZnqUc_^<f)9XDj!j%;5O@LEb!k?z^u}R>mLO_ssry?Dci#53XU#BD7kQ9T&-84odEvXlmg{0Is=s_!*J9Y"
    "ifwmgBv^LcRma%wLL-RI9$1yXMvY&rn6B4DSd}?h9}jY7J0*nIwd6g_^&_id%mcXAmOMTbkepgRd2Uxx=Vd8>>lo`Ev$Bs3N=`YP"
    "irt+mGZ9JySh+u~CZC=mqO5UQ8E0!)?WAn7d~CsgFB~}6J*_bYgXvdz1f@o?7101zztR#GPf)UgPd11RXAVpbIIMBYC9}kaQy0e8"
    "F&<kk*~kN!n~3Gcs}la0+wLY#03;H&;<O^A+m2N~>fTe%9T)<*w2sU8eXGQb+<v_0!G1k**5{%w=N^1E1V2QL=dO#y#Sr`yl~_0d"
    "`$l%`o;<;|g77D{9Yrnb2X@=G*4qf*b*c!qwhsp2i8Zfic%!rRi3cy`1$f0QLqE1x-}>_xHo)46Dmmq~cHzqbTuzr<cn>9K(j*K*"
    "c#9Mcyo+!wO1E^;F7LM5?xo=!bVe+Syq*V=lM6O_ylEfs0G$yFY~!0_A11<U8sb=v6I>2lcLLElb8}4Kd?jZO9QP&x90?CT#SI)3"
    "h@c@1x@>gt1=^jk0XXyEHy8j>1IHm8d$4?ygmXHk0Zib1#~OU8fuod;iV&vaFQ?J*X3!lauo9{f{o0ioV!<zAG=>j1L;AccV3C!2"
    "pP_aTl_9*+6<r&i;0y$$2PUeV=O#}lawaT_UYK{qJhzg%?9-w-SaY%5mYFtKCX5sVFtu{F6}YsB`{3BX#PlPwNQdCUlH5KRvAmdu"
    "aN@#UwU5gD@VgLBP4Tf{K*>ORVQyemMyl+`sOW_|MTu2ApJ(60E7}WJIy_WP&dBOVdAZyN^8mhw^(3vQeQ>9T)nX<v0#Yw-2Ft#E"
    "Uqn52R&Z`$Io}e|=fNHr?tC#Hom~T)N_&^${Jk7Tof-{tzbwzkJuug>-O%V-SnZ6HC2V9xRX<$m39B+Cj<7{o8i(MgY%46$E<7_*"
    "*z?}7Gcc=-ezk<7z=Z}bYRgRWdK7rYz_jw<(9le&&&?;3*!k#j4V*VoKts4xlMj!WZGQ^$5H9qXq+#NWW|nRoZUI*s=K5c+xNn+~"
    "yG;A1g3aF9a{zXd;->JR<WhT{xp3W6MhpEM>y7gPxV#>w`qjntu+h^B1yN+7of9+m6Yh*HX&-Eo!;Y~M-V5EGioW*PYK3<;ZwP}t"
    "uUk8^tKoGIrbDnC#AmJ=HC(maFO%8T@YI`h2SGWS{o%rF7?$5tT%Cs{kMt*|8>k^$i&sVIRq*O<U~hcQ3%L0b^nbzgVR-u%f)T!j"
    "()n#9XSacqYqa<ey)3Tz"
)


@cache
def land() -> npt.NDArray[np.bool_]:
    """Cells that are mostly land, bool `[135, 360]`, from 80 N southwards and 180 W eastwards; read only."""
    cells = (NORTH - SOUTH) * 360
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b85decode(_BITS)), np.uint8), count=cells)
    return bits.reshape(NORTH - SOUTH, 360).astype(np.bool_)
