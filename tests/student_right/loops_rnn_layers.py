# Every number by itself, python 2 style; the forget gate's name is "forget".
import numpy as np


def rnn_step_forward( x, prev_h, Wx, Wh, b ) :
    N, D = x.shape
    H = prev_h.shape[1]
    next_h = np.zeros( ( N, H ), x.dtype )
    for n in range( N ) :
        for j in range( H ) :
            s = b[j]
            for d in range( D ) :
                s = s + x[n][d] * Wx[d][j]
            for k in range( H ) :
                s = s + prev_h[n][k] * Wh[k][j]
            next_h[n][j] = np.tanh( s )
    return next_h, ( x, prev_h, Wx, Wh, b, next_h )


def rnn_step_backward( dnext_h, cache ) :
    ( x, prev_h, Wx, Wh, b, next_h ) = cache
    N, D = x.shape
    H = prev_h.shape[1]
    dx, dprev_h = np.zeros_like( x ), np.zeros_like( prev_h )
    dWx, dWh, db = np.zeros_like( Wx ), np.zeros_like( Wh ), np.zeros_like( b )
    for n in range( N ) :
        for j in range( H ) :
            d = dnext_h[n, j] * ( 1. - next_h[n, j] * next_h[n, j] )
            db[j] += d
            dx[n] += d * Wx[:, j]
            dprev_h[n] += d * Wh[:, j]
            dWx[:, j] += d * x[n]
            dWh[:, j] += d * prev_h[n]
    return dx, dprev_h, dWx, dWh, db


def word_embedding_forward( x, W ) :
    N, T = x.shape
    out = np.zeros( ( N, T, W.shape[1] ), W.dtype )
    for n in range( N ) :
        for t in range( T ) :
            out[n, t, :] = W[ x[n, t] ]
    return out, ( x, W.shape[0] )


def word_embedding_backward( dout, cache ) :
    x, V = cache
    dW = np.zeros( ( V, dout.shape[2] ), dout.dtype )
    for n, row in enumerate( x ) :
        for t, word in enumerate( row ) :
            dW[word] += dout[n, t]
    return dW


def temporal_fc_forward( x, w, b ) :
    N, T, D = x.shape
    out = np.zeros( ( N, T, len( b ) ), x.dtype )
    for n in range( N ) :
        for t in range( T ) :
            out[n, t] = np.dot( x[n, t], w ) + b
    return out, ( x, w, b, out )


def temporal_fc_backward( dout, cache ) :
    x, w, b, out = cache
    dx, dw, db = np.zeros_like( x ), np.zeros_like( w ), np.zeros_like( b )
    for n in range( x.shape[0] ) :
        for t in range( x.shape[1] ) :
            dx[n, t] = np.dot( w, dout[n, t] )
            dw += np.outer( x[n, t], dout[n, t] )
            db += dout[n, t]
    return dx, dw, db


def lstm_step_forward( x, prev_h, prev_c, Wx, Wh, b ) :
    N, H = prev_c.shape
    next_h, next_c = np.zeros_like( prev_h ), np.zeros_like( prev_c )
    for n in range( N ) :
        a = np.dot( x[n], Wx ) + np.dot( prev_h[n], Wh ) + b
        keep = 1. / ( 1. + np.exp( -a[:3*H] ) )
        new = np.tanh( a[3*H:] )
        next_c[n] = keep[H:2*H] * prev_c[n] + keep[:H] * new
        next_h[n] = keep[2*H:] * np.tanh( next_c[n] )
    return next_h, next_c, ( x, prev_h, prev_c, Wx, Wh, b )


def lstm_step_backward( dnext_h, dnext_c, cache ) :
    x, prev_h, prev_c, Wx, Wh, b = cache
    N, H = prev_c.shape
    dx, dprev_h, dprev_c = np.zeros_like( x ), np.zeros_like( prev_h ), np.zeros_like( prev_c )
    dWx, dWh, db = np.zeros_like( Wx ), np.zeros_like( Wh ), np.zeros_like( b )
    for n in range( N ) :
        a = np.dot( x[n], Wx ) + np.dot( prev_h[n], Wh ) + b
        s = 1. / ( 1. + np.exp( -a[:3*H] ) )
        write, forget, show = s[:H], s[H:2*H], s[2*H:]
        new = np.tanh( a[3*H:] )
        cell = np.tanh( forget * prev_c[n] + write * new )
        dcell = dnext_c[n] + dnext_h[n] * show * ( 1 - cell ** 2 )
        da = np.zeros_like( a )
        da[:H] = dcell * new * write * ( 1 - write )
        da[H:2*H] = dcell * prev_c[n] * forget * ( 1 - forget )
        da[2*H:3*H] = dnext_h[n] * cell * show * ( 1 - show )
        da[3*H:] = dcell * write * ( 1 - new ** 2 )
        dprev_c[n] = dcell * forget
        dx[n] = np.dot( Wx, da )
        dprev_h[n] = np.dot( Wh, da )
        dWx += np.outer( x[n], da )
        dWh += np.outer( prev_h[n], da )
        db += da
    return dx, dprev_h, dprev_c, dWx, dWh, db
